import { join } from 'node:path'
import { chartReadme, valuesPage } from './docs/chart/pages.ts'
import { chartSchemaFile } from './docs/chart/schema.ts'
import { configSchemaFile } from './docs/config-schema.ts'
import { configurationPage } from './docs/configuration.ts'
import { errorsPage } from './docs/errors.ts'
import { generate } from './docs/generate.ts'
import { metricsPage } from './docs/metrics.ts'
import { pluginsPage } from './docs/plugins.ts'

/**
 * `node scripts/docs.ts` writes everything below docs/reference from the code; `--check` only says which files are stale.
 * A new generated file is one more entry here.
 */
const files = [
  configSchemaFile,
  configurationPage,
  pluginsPage,
  errorsPage,
  metricsPage,
  chartSchemaFile,
  chartReadme,
  valuesPage
]

const check = process.argv.includes('--check')
const stale = await generate(files, join(import.meta.dirname, '..'), { check })
for (const path of stale) console.log(check ? `${path} is stale: run npm run docs` : `wrote ${path}`)
if (check && stale.length > 0) process.exitCode = 1
