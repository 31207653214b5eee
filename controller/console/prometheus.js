// Queries through the controller, which asks its Prometheus.

async function ask(path, parameters) {
  const response = await fetch(`${path}?${new URLSearchParams(parameters)}`);
  const text = await response.text();
  let answer;
  try {
    answer = JSON.parse(text);
  } catch {
    throw new Error(`${path} answered ${response.status}, and no JSON`);
  }
  if (!response.ok || answer.status !== 'success') throw new Error(answer.error ?? `${path} answered ${response.status}`);
  return answer.data;
}

const number = (text) => {
  const value = Number(text);
  return Number.isFinite(value) ? value : null;
};

// The series of a range query: [{labels, points: Map(seconds -> value or null)}].
export async function queryRange(expr, start, end, step) {
  const data = await ask('/api/prometheus/query_range', { query: expr, start, end, step });
  return data.result.map(({ metric, values }) => ({
    labels: metric,
    points: new Map(values.map(([time, value]) => [time, number(value)])),
  }));
}

// The values of one label over all series of a metric, sorted.
export async function labelValues(metric, label) {
  const data = await ask('/api/prometheus/query', { query: `count by (${label}) (${metric})` });
  return data.result.map((series) => series.metric[label]).filter(Boolean).sort();
}
