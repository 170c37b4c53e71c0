import t from 'tap'
import { SharedThings } from '../../../src/plugin/shared.ts'

t.test('a thing is made for the first and closed with the last who has it', async t => {
  const things = new SharedThings()
  const closed: number[] = []
  let made = 0
  const acquire = (key: string) =>
    things.acquire(
      key,
      () => ++made,
      value => closed.push(value)
    )
  const [a, b, other] = [acquire('a'), acquire('a'), acquire('b')]
  t.same([a.value, b.value, other.value], [1, 1, 2])
  a.release()
  a.release()
  t.same(closed, [], 'whoever lets go twice takes it from nobody')
  b.release()
  t.same(closed, [1])
  const again = acquire('a')
  t.equal(again.value, 3, 'made anew')
  b.release()
  t.same(closed, [1])
  await things.close()
  t.same(closed.sort(), [1, 2, 3], 'the end closes what is left')
  again.release()
  t.same(closed.length, 3, 'once')
})
