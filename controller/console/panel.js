// One panel of a Grafana dashboard, drawn with uPlot: the types "timeseries" and "stat".
import uPlot from '/console/uplot.js';
import { queryRange } from './prometheus.js';

const kColours = ['#2a7fc0', '#e67e22', '#27ae60', '#c0392b', '#8e44ad', '#16a085', '#d4ac0d', '#7f8c8d', '#e84393', '#2c3e50'];

const kScales = [[1e9, 'G'], [1e6, 'M'], [1e3, 'k']];
function short(value) {
  const [size, suffix] = kScales.find(([limit]) => Math.abs(value) >= limit) ?? [1, ''];
  return `${+(value / size).toPrecision(3)}${suffix}`;
}

export function format(value, unit) {
  if (value === null || value === undefined) return '–';
  switch (unit) {
    case 's': return value !== 0 && Math.abs(value) < 1 ? `${short(value * 1000)} ms` : `${short(value)} s`;
    case 'percentunit': return `${short(value * 100)} %`;
    case 'bytes': return value >= 2 ** 30 ? `${short(value / 2 ** 30)} GiB` : `${short(value / 2 ** 20)} MiB`;
    case 'reqps': return `${short(value)}/s`;
    default: return short(value);
  }
}

const legend = (pattern, labels) =>
  pattern ? pattern.replace(/{{\s*(\w+)\s*}}/g, (_, name) => labels[name] ?? '').trim() || 'all' : 'value';

export class Panel {
  constructor(model, parent) {
    this.model = model;
    // Of decisions: [{time, colour}], in seconds since the epoch.
    this.marks = [];
    this.unit = model.fieldConfig?.defaults?.unit ?? 'none';
    this.stacked = model.fieldConfig?.defaults?.custom?.stacking?.mode === 'normal';
    this.root = document.createElement('article');
    this.root.className = 'panel';
    this.root.dataset.title = model.title;
    const { h, w, x, y } = model.gridPos;
    this.root.style.gridColumn = `${x + 1} / span ${w}`;
    this.root.style.gridRow = `${y + 1} / span ${h}`;
    this.root.style.minHeight = `${h * 30}px`;
    const title = document.createElement('h3');
    title.textContent = model.title;
    title.title = model.description ?? '';
    this.body = document.createElement('div');
    this.body.className = model.type === 'stat' ? 'number' : 'plot';
    this.names = document.createElement('div');
    this.names.className = 'legend';
    this.root.append(title, this.body, this.names);
    parent.append(this.root);
  }

  // Queries and draws. `expand` fills in variables and intervals.
  async update(start, end, step, expand) {
    try {
      const answers = await Promise.all(
        this.model.targets.map(async (target) =>
          (await queryRange(expand(target.expr), start, end, step)).map((series) => ({
            name: legend(target.legendFormat, series.labels),
            points: series.points,
          }))
        )
      );
      const series = answers.flat().sort((a, b) => a.name.localeCompare(b.name));
      // For whoever looks from outside: how many series, and how many points have a value.
      this.root.dataset.series = series.length;
      this.root.dataset.points = series.reduce((sum, s) => sum + [...s.points.values()].filter((v) => v !== null).length, 0);
      delete this.root.dataset.error;
      if (this.model.type === 'stat') this.drawNumber(series);
      else this.drawGraph(series, start, end, step);
    } catch (error) {
      this.root.dataset.error = error.message;
      this.names.textContent = error.message;
      this.names.classList.add('error');
    }
  }

  drawNumber(series) {
    const values = series.flatMap((s) => [...s.points.values()].filter((v) => v !== null).slice(-1));
    this.body.textContent = values.length ? format(values[values.length - 1], this.unit) : '–';
  }

  drawGraph(series, start, end, step) {
    const times = [];
    for (let time = start; time <= end; time += step) times.push(time);
    let columns = series.map((s) => times.map((time) => s.points.get(time) ?? null));
    const plain = columns;
    if (this.stacked) {
      const sums = times.map(() => 0);
      columns = columns.map((column) => column.map((value, i) => (value === null ? null : (sums[i] += value))));
    }
    const order = this.stacked ? [...series.keys()].reverse() : [...series.keys()];
    this.root.dataset.marks = this.marks.filter((mark) => mark.time >= start && mark.time <= end).length;
    const colour = (index) => kColours[index % kColours.length];
    const data = [times, ...order.map((index) => columns[index])];
    const key = series.map((s) => s.name).join('\n');
    if (this.plot && this.key === key) {
      this.plot.setData(data);
    } else {
      this.plot?.destroy();
      this.key = key;
      const dim = getComputedStyle(document.body).color;
      const axis = { stroke: dim, grid: { stroke: '#8883', width: 1 }, ticks: { stroke: '#8883', width: 1 } };
      this.plot = new uPlot(
        {
          width: Math.max(this.body.clientWidth, 100),
          height: Math.max(this.body.clientHeight, 150),
          cursor: { drag: { x: false, y: false } },
          hooks: { draw: [(plot) => this.drawMarks(plot)] },
          scales: { y: { range: (_, low, high) => [Math.min(0, low ?? 0), (high ?? 1) > 0 ? high * 1.05 : 1] } },
          axes: [axis, { ...axis, size: 78, values: (_, splits) => splits.map((value) => format(value, this.unit)) }],
          series: [
            {},
            ...order.map((index) => ({
              label: series[index].name,
              stroke: colour(index),
              fill: this.stacked ? colour(index) + '99' : undefined,
              width: 1.2,
              points: { show: false },
            })),
          ],
        },
        data,
        this.body
      );
    }
    this.names.classList.remove('error');
    this.names.replaceChildren(
      ...series.map((s, index) => {
        const item = document.createElement('span');
        const mark = document.createElement('i');
        mark.style.background = colour(index);
        const last = plain[index].filter((v) => v !== null).slice(-1)[0];
        item.append(mark, `${s.name} ${format(last, this.unit)}`);
        return item;
      })
    );
    if (!series.length) this.names.textContent = 'no data';
  }

  // A line at the time of each decision.
  drawMarks(plot) {
    const { left, top, width, height } = plot.bbox;
    plot.ctx.save();
    plot.ctx.setLineDash([4, 3]);
    for (const { time, colour } of this.marks) {
      const x = plot.valToPos(time, 'x', true);
      if (x < left || x > left + width) continue;
      plot.ctx.strokeStyle = colour;
      plot.ctx.beginPath();
      plot.ctx.moveTo(x, top);
      plot.ctx.lineTo(x, top + height);
      plot.ctx.stroke();
    }
    plot.ctx.restore();
  }

  remove() {
    this.plot?.destroy();
    this.root.remove();
  }
}
