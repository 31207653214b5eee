#pragma once

namespace penstock::policy {

// A policy in which every kind of field is written.
inline constexpr char kShop[] = R"(kind: Policy
metadata:
  name: shop
  labels:
    team: "7"
spec:
  service: shop
  nodeLabels:
    zone: eu-1
  mode: shadow
  pools:
    - name: default
      min: 64
      max: 20000
      memory: 2GiB
      queue:
        discipline: newestFirst
        max: 2000
        maxWait: 1s
        target: 50ms
        interval: 500ms
      sizing:
        headroom: 2.5
        reaction: 10s
      fallbackLimit: 500
  routes:
    - match: "/checkout/*"
      pool: default
      priority: critical
      deadline: 8s
  upstreams:
    - name: payments
      match:
        hosts:
          - pay.example.com
          - "127.0.0.1:8080"
      limit:
        mode: adaptive
        min: 4
        max: 5000
        kneeTest: observe
      breaker:
        slowCall:
          over: 3s
          ratio: 0.6
        errorRatio: 0.5
        minCalls: 20
        window: 10s
        open: 5s
        probes: 3
        usefulness: false
      timeout: 5s
      retryBudget: 0.1
      memoryShare: 0.7
      refusalError: hostUnreachable
      hedge: false
  guards:
    memory: 512MiB
    memoryGuard: observe
    cpuGuard: off
)";

}  // namespace penstock::policy
