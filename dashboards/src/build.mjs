// Writes the dashboards as JSON, into dashboards/ or the folder given.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { overview } from './overview.mjs';
import { upstream } from './upstream.mjs';

const folder = process.argv[2] ?? join(dirname(fileURLToPath(import.meta.url)), '..');
mkdirSync(folder, { recursive: true });
for (const [name, builder] of [['fleet', overview], ['upstream', upstream]]) {
  writeFileSync(join(folder, `${name}.json`), JSON.stringify(builder.build(), null, 2) + '\n');
}
