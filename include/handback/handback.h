// Everything a program needs. Reading order: README.md, "Guide to the headers".
#pragma once

#include <handback/bio_group.h>
#include <handback/block_device.h>
#include <handback/contract.h>
#include <handback/coroutine.h>
#include <handback/deadline_device.h>
#include <handback/environment.h>
#include <handback/error.h>
#include <handback/host_device.h>
#include <handback/iomap.h>
#include <handback/issuer.h>
#include <handback/kiocb.h>
#include <handback/memory_device.h>
#include <handback/page_cache.h>
#include <handback/page_wait.h>
#include <handback/repair.h>
#include <handback/route.h>
#include <handback/sim.h>
#include <handback/simulation.h>
#include <handback/trace.h>
#include <handback/version.h>
#include <handback/volume.h>
