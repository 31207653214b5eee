// Opens the console in Chromium while the incident runs, and checks that each panel of each dashboard shows data; then
// runs each panel's queries against Prometheus itself.
//
// node check_console.mjs CONSOLE_URL PROMETHEUS_URL [SCREENSHOT_FOLDER]
import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const [console_url, prometheus_url, screenshots] = process.argv.slice(2);
const folder = join(dirname(fileURLToPath(import.meta.url)), '../../../dashboards');
const kDeadlineMs = 30_000;
let passed = 0;
const failures = [];
const check = (good, what) => (good ? passed++ : failures.push(what));

const dashboards = readdirSync(folder)
  .filter((name) => name.endsWith('.json'))
  .map((name) => ({ name: name.replace(/\.json$/, ''), model: JSON.parse(readFileSync(join(folder, name))) }));

async function checkPage(browser) {
  const page = await browser.newPage({ viewport: { width: 1600, height: 1400 } });
  const errors = [];
  page.on('pageerror', (error) => errors.push(error.message));
  page.on('console', (message) => message.type() === 'error' && errors.push(message.text()));
  for (const { name, model } of dashboards) {
    await page.goto(`${console_url}/?dashboard=${name}&upstream=A`);
    const all_drawn = (count) => {
      const panels = [...document.querySelectorAll('.panel')];
      return panels.length === count && panels.every((panel) => Number(panel.dataset.points) > 0);
    };
    await page.waitForFunction(all_drawn, model.panels.length, { timeout: kDeadlineMs }).catch(() => {});
    const panels = await page.$$eval('.panel', (list) =>
      list.map((panel) => ({
        ...panel.dataset,
        drawn: panel.querySelector('canvas') !== null || /\d/.test(panel.querySelector('.number')?.textContent ?? ''),
      }))
    );
    for (const { title } of model.panels) {
      const panel = panels.find((shown) => shown.title === title);
      check(panel?.drawn && Number(panel.points) > 0,
        `${name}: panel "${title}" shows nothing${panel?.error ? `: ${panel.error}` : ''}`);
    }
    if (name === 'fleet') {
      check((await page.$$('#decisions li')).length > 0, 'the log of decisions is empty');
      const marked = (await page.evaluate(() => document.body.dataset.marked)).split(' ');
      check(marked.includes('policy') && !marked.includes('pool'), `lines of the annotations are of: ${marked}`);
    }
    if (screenshots) await page.screenshot({ path: join(screenshots, `console-${name}.png`) });
  }
  check(errors.length === 0, `errors on the page: ${errors.join('; ')}`);
}

async function checkQueries() {
  for (const { name, model } of dashboards) {
    for (const panel of model.panels) {
      for (const { expr } of panel.targets) {
        const query = expr.replaceAll('$__rate_interval', '20s').replaceAll('$upstream', 'A');
        const response = await fetch(`${prometheus_url}/api/v1/query?${new URLSearchParams({ query })}`);
        const answer = await response.json();
        // What needs a recorded day is empty on the first one.
        const answered = query.includes('penstock_fleet_expected_')
          ? answer.status === 'success'
          : answer.data?.result?.length > 0;
        check(answered, `${name}: "${panel.title}": empty: ${query} ${answer.error ?? ''}`);
      }
    }
  }
}

const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
});
try {
  await checkPage(browser);
} finally {
  await browser.close();
}
await checkQueries();
failures.forEach((failure) => console.error(`FAILED ${failure}`));
console.log(`${passed} passed, ${failures.length} failed`);
process.exit(failures.length ? 1 : 0);
