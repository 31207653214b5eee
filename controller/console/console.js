// The console: draws the dashboards that Grafana would, from the same JSON, beside the log of decisions.
import { Panel } from './panel.js';
import { labelValues } from './prometheus.js';

const element = (id) => document.getElementById(id);
const kRefreshMs = 2000;

const page = { dashboards: [], panels: [], annotations: [], variables: {}, dashboard: null, scrapeSeconds: 5 };

async function getJson(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path} answered ${response.status}`);
  return response.json();
}

function expand(expr, step) {
  const interval = `${Math.max(4 * page.scrapeSeconds, step)}s`;
  return Object.entries(page.variables).reduce(
    (text, [name, value]) => text.replaceAll(`$${name}`, value),
    expr.replaceAll('$__rate_interval', interval).replaceAll('$__interval', `${step}s`)
  );
}

async function fillVariables(dashboard) {
  page.variables = {};
  element('variables').replaceChildren();
  const wanted = new URLSearchParams(location.search);
  for (const variable of dashboard.templating?.list ?? []) {
    const [, metric, label] = /label_values\(\s*([^,]+?)\s*,\s*(\w+)\s*\)/.exec(variable.query?.query ?? variable.query);
    const values = await labelValues(metric, label);
    const select = document.createElement('select');
    select.name = variable.name;
    select.append(...values.map((value) => new Option(value, value)));
    select.value = values.includes(wanted.get(variable.name)) ? wanted.get(variable.name) : values[0] ?? '';
    page.variables[variable.name] = select.value;
    select.addEventListener('change', () => {
      page.variables[variable.name] = select.value;
      const query = new URLSearchParams({ dashboard: page.dashboard, ...page.variables });
      history.replaceState(null, '', `?${query}`);
      update();
    });
    const caption = document.createElement('label');
    caption.append(`${variable.label ?? variable.name} `, select);
    element('variables').append(caption);
  }
}

async function open(name) {
  const dashboard = await getJson(`/api/dashboards/${encodeURIComponent(name)}`);
  page.dashboard = name;
  document.title = dashboard.title;
  for (const link of element('dashboards').children) {
    link.toggleAttribute('aria-current', link.dataset.name === name);
  }
  page.panels.forEach((panel) => panel.remove());
  await fillVariables(dashboard);
  page.annotations = (dashboard.annotations?.list ?? []).filter(({ expr }) => expr);
  page.panels = dashboard.panels.map((model) => new Panel(model, element('panels')));
}

// What the dashboard's annotations select, by the labels that they name.
function selects(annotation, decision) {
  const labels = {
    kind: decision.kind, name: decision.name, service: decision.service, action: decision.action,
    verdict: decision.verdict || 'none', shadow: String(decision.shadow ?? false),
  };
  const conditions = [...(annotation.expr ?? '').matchAll(/(\w+)(=|!=|=~|!~)"([^"]*)"/g)];
  return conditions.every(([, label, operator, value]) => {
    const wanted = Object.entries(page.variables).reduce((text, [name, is]) => text.replaceAll(`$${name}`, is), value);
    const is = operator.endsWith('~') ? new RegExp(`^(?:${wanted})$`).test(labels[label]) : labels[label] === wanted;
    return is === operator.startsWith('=');
  });
}

async function markDecisions(start) {
  const since = new Date(start * 1000).toISOString();
  const { decisions } = await getJson(`/api/decisions?limit=1000&since=${encodeURIComponent(since)}`);
  const marks = (decisions ?? [])
    .filter((decision) => !['hold', 'join', 'leave'].includes(decision.action))
    .map((decision) => [decision, page.annotations.find((annotation) => selects(annotation, decision))])
    .filter(([, annotation]) => annotation)
    .map(([{ kind, time }, { iconColor }]) => ({ kind, time: Date.parse(time) / 1000, colour: iconColor }));
  document.body.dataset.marked = [...new Set(marks.map(({ kind }) => kind))].sort().join(' ');
  page.panels.forEach((panel) => (panel.marks = marks));
}

async function showDecisions() {
  const { decisions } = await getJson('/api/decisions');
  element('decisions').replaceChildren(
    ...(decisions ?? []).map((decision) => {
      const item = document.createElement('li');
      item.className = decision.action;
      item.classList.toggle('shadow', decision.shadow === true);
      const time = document.createElement('time');
      time.textContent = new Date(decision.time).toLocaleTimeString();
      const what = document.createElement('strong');
      what.textContent = `${decision.kind}/${decision.name} ${decision.action} `;
      const verdict = decision.verdict && decision.verdict !== 'none' ? `[${decision.verdict}] ` : '';
      const shadow = decision.shadow ? `shadow${decision.policy ? ` ${decision.policy}` : ''}, not carried out: ` : '';
      item.append(time, what, decision.node ? `(${decision.node}) ` : '', shadow, verdict,
        decision.message || decision.reason || '');
      item.title = [decision.formula, decision.wouldChange && `would change: ${decision.wouldChange}`]
        .filter(Boolean)
        .join('\n');
      return item;
    })
  );
}

let updating = false;
async function update() {
  if (updating) return;
  updating = true;
  try {
    const range = Number(element('range').value);
    const step = Math.max(1, Math.round(range / 180));
    const end = Math.floor(Date.now() / 1000 / step) * step;
    // What keeps the marks away is told with the list of decisions.
    await markDecisions(end - range).catch(() => {});
    const results = await Promise.allSettled([
      showDecisions(),
      ...page.panels.map((panel) => panel.update(end - range, end, step, (expr) => expand(expr, step))),
    ]);
    const failed = results.find((result) => result.status === 'rejected')?.reason.message
      ?? page.panels.map((panel) => panel.root.dataset.error).find(Boolean);
    element('state').textContent = failed ?? `as of ${new Date().toLocaleTimeString()}`;
    element('state').classList.toggle('error', Boolean(failed));
    document.body.dataset.updates = Number(document.body.dataset.updates ?? 0) + 1;
  } finally {
    updating = false;
  }
}

async function start() {
  const { dashboards, scrapeIntervalSeconds } = await getJson('/api/dashboards');
  page.scrapeSeconds = scrapeIntervalSeconds;
  element('dashboards').replaceChildren(
    ...dashboards.map(({ name, title }) => {
      const link = document.createElement('a');
      link.href = `?dashboard=${encodeURIComponent(name)}`;
      link.dataset.name = name;
      link.textContent = title.replace(/^Penstock: /, '');
      return link;
    })
  );
  const wanted = new URLSearchParams(location.search).get('dashboard');
  await open(dashboards.some(({ name }) => name === wanted) ? wanted : dashboards[0].name);
  element('range').addEventListener('change', update);
  await update();
  setInterval(update, kRefreshMs);
}

start().catch((error) => {
  element('state').textContent = error.message;
  element('state').classList.add('error');
});
