import fc from 'fast-check'
import t from 'tap'
import {
  formatDuration,
  formatSize,
  parseDuration,
  parsePercentage,
  parseSize
} from '../../../src/config/units.ts'

t.test('durations are read as they are written', async t => {
  t.equal(parseDuration('250ms'), 250)
  t.equal(parseDuration('15s'), 15_000)
  t.equal(parseDuration('1m'), 60_000)
  t.equal(parseDuration('1h'), 3_600_000)
  t.equal(parseDuration('366d'), 366 * 86_400_000)
  t.equal(parseDuration('0s'), 0)
})

t.test('what is no duration is not guessed at', async t => {
  for (const text of [
    '',
    '5',
    's',
    '1.5s',
    '-1s',
    '+1s',
    '1 s',
    ' 1s',
    '1s ',
    '1S',
    '1min',
    '1e3s',
    '367d',
    '1h30m',
    '9999999999999s',
    '١s'
  ]) {
    t.equal(parseDuration(text), undefined, text)
  }
})

t.test('sizes are read as Kubernetes users write them', async t => {
  t.equal(parseSize('64Ki'), 65_536)
  t.equal(parseSize('1Mi'), 1_048_576)
  t.equal(parseSize('2Gi'), 2_147_483_648)
  for (const text of ['', '64', '64K', '64k', '64KB', '1.5Mi', '-1Ki', '1 Mi', '9999999Gi']) {
    t.equal(parseSize(text), undefined, text)
  }
})

t.test('percentages are fractions', async t => {
  t.equal(parsePercentage('10%'), 0.1)
  t.equal(parsePercentage('0%'), 0)
  t.equal(parsePercentage('100%'), 1)
  for (const text of ['10', '0.1', '101%', '-1%', '1.5%', '%'])
    t.equal(parsePercentage(text), undefined, text)
})

t.test('every duration survives being written and read again', async () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 366 * 86_400_000 }), milliseconds => {
      return parseDuration(formatDuration(milliseconds)) === milliseconds
    })
  )
})

t.test('every whole number of Ki survives being written and read again', async () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 1024 ** 2 }), kibibytes => {
      return parseSize(formatSize(kibibytes * 1024)) === kibibytes * 1024
    })
  )
})

t.test('no text at all makes the parsers fail', async () => {
  fc.assert(
    fc.property(fc.string(), text => {
      for (const parse of [parseDuration, parseSize, parsePercentage]) {
        const value = parse(text)
        if (value !== undefined && !(value >= 0 && Number.isFinite(value))) return false
      }
      return true
    })
  )
})
