import fc from 'fast-check'
import t from 'tap'
import { editDistance, nearest } from '../../../src/config/nearest.ts'

t.test('the word that was meant is found', async t => {
  const words = ['timeout', 'methods', 'upstream', 'upstreams', 'jwt', 'rate-limit']
  t.equal(nearest('timout', words), 'timeout')
  t.equal(nearest('metohds', words), 'methods', 'swapped letters')
  t.equal(nearest('Timeout', words), 'timeout', 'upper case')
  t.equal(nearest('upstreem', words), 'upstream')
  t.equal(nearest('jwtt', words), 'jwt')
})

t.test('a word that is far from everything is nothing', async t => {
  t.equal(nearest('oidc', ['jwt', 'cors', 'metrics']), undefined)
  t.equal(nearest('x'.repeat(100_000), ['y'.repeat(100_000)]), undefined)
  t.equal(nearest('a', []), undefined)
})

t.test('a distance is a metric', async () => {
  const word = fc.string({ maxLength: 12 })
  fc.assert(
    fc.property(word, word, (a, b) => {
      const distance = editDistance(a, b)
      return (
        distance === editDistance(b, a) &&
        (distance === 0) === (a === b) &&
        distance <= Math.max(a.length, b.length) &&
        distance >= Math.abs(a.length - b.length)
      )
    })
  )
})
