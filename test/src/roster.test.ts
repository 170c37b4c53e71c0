import { test } from 'tap'
import { Roster } from '../../src/roster.ts'

const one = () => ({ place: -1 })

test('a roster knows what came and has not gone, in whatever order it went', async t => {
  const roster = new Roster<{ place: number }>()
  const [first, second, third] = [one(), one(), one()]
  for (const each of [first, second, third]) roster.add(each)
  roster.delete(first)
  t.same(new Set(roster), new Set([second, third]))
  roster.delete(third)
  t.same([...roster], [second])
  t.equal(roster.size, 1)
  roster.add(first)
  roster.delete(second)
  t.equal([...roster][0], first)
  roster.delete(first)
  t.equal(roster.size, 0)
})

test('what is in a roster twice is in it once, and what is not in it cannot leave it', async t => {
  const roster = new Roster<{ place: number }>()
  const [inside, outside] = [one(), one()]
  roster.add(inside)
  roster.add(inside)
  t.equal(roster.size, 1)
  roster.delete(outside)
  t.equal(roster.size, 1)
  roster.delete(inside)
  roster.delete(inside)
  t.equal(roster.size, 0)
})

test('a roster may lose what is in it while somebody goes through it', async t => {
  const roster = new Roster<{ place: number }>()
  const all = Array.from({ length: 5 }, one)
  for (const each of all) roster.add(each)
  let seen = 0
  for (const each of roster) {
    seen++
    roster.delete(each)
  }
  t.equal(seen, 5)
  t.equal(roster.size, 0)
})
