// The panels that Penstock's dashboards are made of: titles are questions' answers, every panel says how to read it.
import * as common from '@grafana/grafana-foundation-sdk/common';
import { AnnotationQueryBuilder } from '@grafana/grafana-foundation-sdk/dashboard';
import { DataqueryBuilder } from '@grafana/grafana-foundation-sdk/prometheus';
import { PanelBuilder as StatBuilder } from '@grafana/grafana-foundation-sdk/stat';
import { PanelBuilder as TimeseriesBuilder } from '@grafana/grafana-foundation-sdk/timeseries';

export const datasource = { type: 'prometheus', uid: 'penstock-prometheus' };

function addTargets(panel, targets) {
  targets.forEach(([expr, legend], index) => {
    panel.withTarget(
      new DataqueryBuilder()
        .refId(String.fromCharCode(65 + index))
        .datasource(datasource)
        .expr(expr)
        .legendFormat(legend)
    );
  });
  return panel;
}

// Lines at the times of decisions: the series' value is when it was taken. `of` selects by the labels kind, name,
// service, action, verdict, shadow.
export function decisions(name, of, colour) {
  const builder = new AnnotationQueryBuilder()
    .name(name)
    .datasource(datasource)
    .enable(true)
    .iconColor(colour)
    .expr(`penstock_controller_decision_time_seconds{${of}} * 1000`)
    .titleFormat('{{kind}}/{{name}} {{action}}')
    .textFormat('{{service}}: {{verdict}}')
    .tagKeys('action,verdict')
    .useValueForTime(true);
  return builder;
}

// A graph over time. `targets` is a list of [PromQL, legend]; `options.stack` piles the series up.
export function graph(title, description, unit, targets, options = {}) {
  const panel = new TimeseriesBuilder()
    .title(title)
    .description(description)
    .datasource(datasource)
    .unit(unit)
    .min(0)
    .lineWidth(1)
    .fillOpacity(options.stack ? 40 : 8)
    .showPoints(common.VisibilityMode.Never)
    .span(options.span ?? 12)
    .height(options.height ?? 8)
    .legend(
      new common.VizLegendOptionsBuilder()
        .displayMode(common.LegendDisplayMode.List)
        .placement(common.LegendPlacement.Bottom)
        .showLegend(true)
    )
    .tooltip(new common.VizTooltipOptionsBuilder().mode(common.TooltipDisplayMode.Multi));
  if (options.stack) panel.stacking(new common.StackingConfigBuilder().mode(common.StackingMode.Normal));
  return addTargets(panel, targets);
}

// One number, the last value.
export function number(title, description, unit, expr, options = {}) {
  const panel = new StatBuilder()
    .title(title)
    .description(description)
    .datasource(datasource)
    .unit(unit)
    .span(options.span ?? 4)
    .height(4)
    .reduceOptions(new common.ReduceDataOptionsBuilder().calcs(['lastNotNull']).values(false))
    .graphMode(common.BigValueGraphMode.None)
    .colorMode(common.BigValueColorMode.None);
  return addTargets(panel, [[expr, '']]);
}
