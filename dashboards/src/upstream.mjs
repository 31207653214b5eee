// One third party in depth: how it is, and what it costs us.
import { DashboardBuilder, DashboardCursorSync, QueryVariableBuilder } from '@grafana/grafana-foundation-sdk/dashboard';
import { datasource, decisions, graph, number } from './panels.mjs';

const of = (metric, more = '') => `${metric}{upstream="$upstream",node!=""${more}}`;

export const upstream = new DashboardBuilder('Penstock: one upstream')
  .uid('penstock-upstream')
  .description('One third party: load, latency, outcomes, breaker, and the time that requests spend waiting for it.')
  .tags(['penstock'])
  .readonly()
  .tooltip(DashboardCursorSync.Crosshair)
  .refresh('5s')
  .time({ from: 'now-15m', to: 'now' })
  .withVariable(
    new QueryVariableBuilder('upstream')
      .label('Upstream')
      .datasource(datasource)
      .query('label_values(penstock_upstream_in_flight, upstream)')
  )
  .annotation(decisions('Decisions', 'kind="upstream",name="$upstream",shadow="false"', 'orange'))
  .annotation(decisions('Policies', 'kind="policy"', 'blue'))
  .withPanel(number('Calls', 'Per second.', 'reqps', `sum(rate(${of('penstock_upstream_requests_total')}[$__rate_interval]))`, { span: 6 }))
  .withPanel(
    number('Success', 'Share of calls that were answered well.', 'percentunit',
      `sum(rate(${of('penstock_upstream_requests_total', ',outcome="ok"')}[$__rate_interval])) / sum(rate(${of('penstock_upstream_requests_total')}[$__rate_interval]))`,
      { span: 6 })
  )
  .withPanel(number('In flight', 'Calls now waiting for an answer, all nodes.', 'none', `sum(${of('penstock_upstream_in_flight')})`, { span: 6 }))
  .withPanel(number('Nodes open', 'Nodes whose breaker is open.', 'none', `sum(${of('penstock_breaker_state', ',state="open"')})`, { span: 6 }))
  .withPanel(
    graph('Calls by outcome', 'rejected: not sent, because of the breaker, the limit or the deadline.', 'reqps',
      [[`sum by (outcome) (rate(${of('penstock_upstream_requests_total')}[$__rate_interval]))`, '{{outcome}}']], { stack: true })
  )
  .withPanel(
    graph('Latency', 'Of calls that ended. While nothing ends, look at the oldest call.', 's', [
      [`histogram_quantile(0.5, sum by (le) (rate(${of('penstock_upstream_request_duration_seconds_bucket')}[$__rate_interval])))`, 'p50'],
      [`histogram_quantile(0.9, sum by (le) (rate(${of('penstock_upstream_request_duration_seconds_bucket')}[$__rate_interval])))`, 'p90'],
      [`histogram_quantile(0.99, sum by (le) (rate(${of('penstock_upstream_request_duration_seconds_bucket')}[$__rate_interval])))`, 'p99'],
      ['max(penstock_fleet_expected_latency_seconds{upstream="$upstream"})', 'mean that is usual at this hour'],
    ])
  )
  .withPanel(
    graph('In flight and limit', 'By node.', 'none', [
      [of('penstock_upstream_in_flight'), '{{node}} in flight'],
      [of('penstock_upstream_limit'), '{{node}} limit'],
    ])
  )
  .withPanel(
    graph('Oldest call', 'Age of the oldest call in flight, by node: the first sign of a black hole.', 's',
      [[of('penstock_upstream_oldest_seconds'), '{{node}}']])
  )
  .withPanel(
    graph('Breaker', 'Nodes by state.', 'none', [[`sum by (state) (${of('penstock_breaker_state')})`, '{{state}}']], { stack: true })
  )
  .withPanel(
    graph('Breaker transitions', 'Per minute, by what caused them.', 'none',
      [[`sum by (to, reason) (rate(${of('penstock_breaker_transitions_total')}[$__rate_interval])) * 60`, '{{to}}: {{reason}}']])
  )
  .withPanel(
    graph('Requests waiting for it', 'Requests that at this moment wait for this upstream, by route.', 'none',
      [[`sum by (route) (rate(${of('penstock_request_time_seconds_total', ',phase="waiting"')}[$__rate_interval]))`, '{{route}}']],
      { stack: true, span: 24 })
  );
