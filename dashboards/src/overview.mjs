// Is the service well, and if not: who is slow, what did Penstock do about it?
import { DashboardBuilder, DashboardCursorSync } from '@grafana/grafana-foundation-sdk/dashboard';
import { decisions, graph, number } from './panels.mjs';

// Of nodes, as /sd labels them; the controller exports some of the same metrics of itself.
const node = 'node!=""';

export const overview = new DashboardBuilder('Penstock: fleet')
  .uid('penstock-fleet')
  .description('All nodes of all services: load, refusals, where requests spend their time, and the breakers.')
  .tags(['penstock'])
  .readonly()
  .tooltip(DashboardCursorSync.Crosshair)
  .refresh('5s')
  .time({ from: 'now-15m', to: 'now' })
  .annotation(decisions('Decisions', 'kind=~"upstream|node",action!="rate",shadow="false"', 'orange'))
  .annotation(decisions('Policies', 'kind="policy"', 'blue'))
  .withPanel(number('Nodes', 'Nodes that Prometheus reaches.', 'none', `count(penstock_pool_limit{pool="default",${node}})`))
  .withPanel(
    number('Requests', 'Answered per second. Programs behind penstock-run answer by themselves, and are not counted.', 'reqps', `sum(rate(penstock_requests_total{${node}}[$__rate_interval]))`)
  )
  .withPanel(
    number(
      'Refused',
      'Share of requests refused at the door, in the queue, or by an open breaker.',
      'percentunit',
      `sum(rate(penstock_requests_rejected_total{${node}}[$__rate_interval])) / sum(rate(penstock_requests_total{${node}}[$__rate_interval]))`
    )
  )
  .withPanel(number('In flight', 'Requests in flight on all nodes.', 'none', `sum(penstock_pool_in_flight{${node}})`))
  .withPanel(
    number('Breakers open', 'Upstreams that are open on at least one node.', 'none',
      'count(max by (upstream) (penstock_breaker_state{state="open"}) == 1) or vector(0)')
  )
  .withPanel(
    number('Shortest lease', 'Time until the first node is on its own. Zero: no controller.', 's',
      'min(penstock_node_lease_seconds)')
  )
  .withPanel(
    graph('Answers by code', '499: the client left first. 503: refused, with the time to retry. 504: out of time. Not of programs behind penstock-run.', 'reqps',
      [[`sum by (code) (rate(penstock_requests_total{${node}}[$__rate_interval]))`, '{{code}}']], { stack: true })
  )
  .withPanel(
    graph('Time to answer', 'Median and 99th percentile over all routes. Not of programs behind penstock-run, which answer by themselves.', 's', [
      [`histogram_quantile(0.5, sum by (le) (rate(penstock_request_duration_seconds_bucket{${node}}[$__rate_interval])))`, 'p50'],
      [`histogram_quantile(0.99, sum by (le) (rate(penstock_request_duration_seconds_bucket{${node}}[$__rate_interval])))`, 'p99'],
    ])
  )
  .withPanel(
    graph('Where requests spend their time',
      'Requests that at this moment run, are ready but have no CPU, or wait, and for whom. Waiting for one upstream: it is slow. Ready: the CPU is full.',
      'none',
      [[`sum by (phase, upstream) (rate(penstock_request_time_seconds_total{${node}}[$__rate_interval]))`, '{{phase}} {{upstream}}']],
      { stack: true })
  )
  .withPanel(
    graph('Pools: limit and use', 'The limit follows rate x latency; what is in flight stays below it. Programs behind penstock-run admit by themselves.', 'none', [
      [`sum by (pool) (penstock_pool_limit{${node}})`, '{{pool}} limit'],
      [`sum by (pool) (penstock_pool_in_flight{${node}})`, '{{pool}} in flight'],
      [`sum by (pool) (penstock_pool_queue_length{${node}})`, '{{pool}} queued'],
    ])
  )
  .withPanel(
    graph('Refusals by reason', 'limit: queue full. shed: gave way to a higher priority. queue_timeout: waited too long. deadline: could not be met. breaker: the upstream is cut off.',
      'reqps', [[`sum by (reason) (rate(penstock_requests_rejected_total{${node}}[$__rate_interval]))`, '{{reason}}']], { stack: true })
  )
  .withPanel(
    graph('Breakers', 'Nodes on which the upstream is open or half open.', 'none',
      [['sum by (upstream, state) (penstock_breaker_state{state!="closed"})', '{{upstream}} {{state}}']])
  )
  .withPanel(
    graph('Calls in flight by upstream', 'Who holds the concurrency.', 'none',
      [[`sum by (upstream) (penstock_upstream_in_flight{${node}})`, '{{upstream}}']])
  )
  .withPanel(
    graph('Memory', 'Resident memory of the nodes.', 'bytes',
      [[`process_resident_memory_bytes{${node}}`, '{{node}}']], { span: 6 })
  )
  .withPanel(
    graph('CPU', 'Cores in use.', 'none', [[`rate(process_cpu_seconds_total{${node}}[$__rate_interval])`, '{{node}}']],
      { span: 6 })
  )
  .withPanel(
    graph('Controller: decisions', 'Per second, by kind and action.', 'none',
      [['sum by (kind, action) (rate(penstock_controller_decisions_total[$__rate_interval]))', '{{kind}} {{action}}']])
  )
  .withPanel(
    graph('Controller: age of signals', 'Time since the last value. While a signal is old its decisions are held.', 's',
      [['penstock_controller_signal_age_seconds', '{{signal}}']])
  );
