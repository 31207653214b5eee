#pragma once

// HTTP/1.1, server and client, as plain synchronous code on fibers.
#include "penstock/http_client.h"
#include "penstock/http_message.h"
#include "penstock/http_server.h"
