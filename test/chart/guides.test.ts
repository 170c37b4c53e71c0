import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { runVerify } from '../../src/perimeter/verify.ts'
import { type Render, renderValues } from './render.ts'
import { needs, root } from './tools.ts'

for (const guide of [
  'guide/protect-a-service.md',
  'guide/adopt-default-deny.md',
  'guide/tls.md',
  '../helm/sallyport/README.md'
]) {
  t.test(`the values in ${guide} are what they are said to be`, needs('helm4'), async t => {
    const text = await readFile(join(root, 'docs', guide), 'utf8')
    const blocks = [...text.matchAll(/```yaml\n([\s\S]*?)```/g)].map(found => found[1] as string)
    t.ok(blocks.length > 0)
    const { upstreams } = parse(blocks[0] as string).config ?? {}
    for (const block of blocks) {
      const values = parse(block)
      // A fragment of the configuration goes on from the first one of its page.
      if (values.config && !values.config.upstreams) values.config.upstreams = upstreams
      const render = await renderValues(values)
      const isClosed = values.perimeter?.enabled !== false
      t.equal(await exitCodeOf(render), isClosed ? 0 : 1, block.split('\n', 1).join())
    }
  })
}

async function exitCodeOf({ text, config }: Render): Promise<number> {
  return (await runVerify({ config: parse(config), manifests: ['-'], stdin: () => text })).exitCode
}
