import t from 'tap'
import { measure } from '../../../bench/perimeter.ts'

/** The promise, with the machine's other work in the way; bench/perimeter.ts has the numbers. */
for (const spread of [true, false]) {
  t.test(
    `50 upstreams, 200 pods and 300 policies in ${spread ? 'ten namespaces' : 'one namespace'} take under 2 s`,
    async t => {
      const { read, prove, verdict } = measure({ upstreams: 50, pods: 200, policies: 300 }, spread)
      t.equal(verdict, 'proven')
      t.ok(read + prove < 2000, `${read} ms to read, ${prove} ms to prove`)
    }
  )
}
