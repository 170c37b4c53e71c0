import type { Case, Counterexample, Finding } from './claim.ts'
import { drawPicture, type Picture } from './matrix.ts'
import type { Verdict } from './policy.ts'
import type { Proof } from './prove.ts'
import { formatEnd, formatRule, headline } from './report.ts'

/** One page that needs nothing else: no script, no font, no image; colours follow the reader's light or dark setting. */
export function formatHtml(proof: Proof, situation: Case): string {
  const picture = drawPicture(situation)
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Sallyport: ${escapeHtml(proof.verdict)}</title>
<style>${style}</style>
</head>
<body>
<header class="${proof.verdict}">
<h1>${escapeHtml(headline(proof.verdict))}</h1>
<p>${proof.upstreams.map(each => `<span class="chip ${each.verdict}">${escapeHtml(each.name)}: ${each.verdict}</span>`).join(' ')}</p>
</header>
<main>
<section>
<h2>Who reaches what</h2>
${legend}
${table(picture)}
</section>
${proof.upstreams.flatMap(upstreamSection).join('\n')}
${findingsSection('Findings', proof.findings)}
<section>
<h2>Taken for granted</h2>
<dl>${proof.assumptions.map(each => `<dt>${each.id}</dt><dd>${escapeHtml(each.text)}</dd>`).join('')}</dl>
</section>
</main>
</body>
</html>
`
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, char => `&#${char.charCodeAt(0)};`)
}

const marks: Readonly<Record<Verdict, string>> = { allowed: '✓', denied: '·', 'cni-dependent': '?' }
const words: Readonly<Record<Verdict, string>> = {
  allowed: 'may connect',
  denied: 'cannot',
  'cni-dependent': 'depends on the CNI'
}

const legend = `<p class="legend">
<span class="cell good">✓</span> may connect, as declared
<span class="cell bad">✕</span> the gateway cannot, and should
<span class="cell bad">✓</span> may connect, and nobody has declared it
<span class="cell cni-dependent">?</span> depends on the CNI
<span class="cell denied">·</span> cannot connect
<br>Each row tries to connect to the pods of each column. Hold the pointer over a cell to read why.</p>`

function table({ rows, columns, cells }: Picture): string {
  const head = columns
    .map(
      each => `<th scope="col"><b>${escapeHtml(each.name)}</b><small>${escapeHtml(each.detail)}</small></th>`
    )
    .join('')
  let group = ''
  const body = rows.map((row, index) => {
    const title =
      row.kind === group
        ? ''
        : `<tr class="group"><th colspan="${columns.length + 1}">${groups[row.kind]}</th></tr>`
    group = row.kind
    const marked = (cells[index] ?? []).map(answer => cell(answer, row.kind)).join('')
    return `${title}<tr><th scope="row"><b>${escapeHtml(row.name)}</b><small>${escapeHtml(row.detail)}</small></th>${marked}</tr>`
  })
  return `<div class="scroll"><table><thead><tr><th></th>${head}</tr></thead><tbody>${body.join('\n')}</tbody></table></div>`
}

const groups: Readonly<Record<Picture['rows'][number]['kind'], string>> = {
  gateway: 'The gateway',
  declared: 'Declared workloads',
  possible: 'Who could still come'
}

function cell(answer: Picture['cells'][number][number], kind: Picture['rows'][number]['kind']): string {
  const tone = answer.verdict === 'allowed' ? (answer.isDeclared ? 'good' : 'bad') : answer.verdict
  const wrong = kind === 'gateway' && answer.verdict === 'denied' ? ' wrong' : ''
  const label = `${words[answer.verdict]}${answer.isDeclared ? ', as declared' : ''}`
  return `<td class="${tone}${wrong}" title="${escapeHtml(answer.why)}"><span aria-label="${label}">${wrong === '' ? marks[answer.verdict] : '✕'}</span></td>`
}

function upstreamSection(upstream: Proof['upstreams'][number]): string[] {
  if (upstream.counterexamples.length === 0 && upstream.findings.length === 0) return []
  const examples = upstream.counterexamples.map(exampleItem).join('')
  return [
    `<section><h2>${escapeHtml(upstream.name)} <span class="chip ${upstream.verdict}">${upstream.verdict}</span></h2>
${examples === '' ? '' : `<ul>${examples}</ul>`}
${findingList(upstream.findings)}</section>`
  ]
}

function exampleItem(example: Counterexample): string {
  const connection = `${formatEnd(example.from)} → ${formatEnd(example.to)} ${example.protocol} ${example.port}`
  return `<li><code>${escapeHtml(connection)}</code><br>${escapeHtml(example.why)}<br><small>${escapeHtml(formatRule(example))} ${escapeHtml(example.at ?? '')}</small></li>`
}

function findingsSection(title: string, findings: readonly Finding[]): string {
  return findings.length === 0 ? '' : `<section><h2>${title}</h2>${findingList(findings)}</section>`
}

function findingList(findings: readonly Finding[]): string {
  if (findings.length === 0) return ''
  const items = findings.map(
    each =>
      `<li><b>${each.code}</b> ${escapeHtml(each.text)}${each.at ? `<br><small>${escapeHtml(each.at)}</small>` : ''}</li>`
  )
  return `<ul>${items.join('')}</ul>`
}

const style = `
:root { color-scheme: light dark; --page: #fff; --ink: #1c2230; --soft: #667085; --line: #d9dee7; --good: #1a7f4b; --bad: #c0303a; --doubt: #9a6a00; --quiet: #f3f5f8 }
@media (prefers-color-scheme: dark) { :root { --page: #14171d; --ink: #e6e9ef; --soft: #98a2b3; --line: #333a46; --good: #4cc38a; --bad: #ff7a80; --doubt: #f0c050; --quiet: #1d222b } }
* { box-sizing: border-box }
body { margin: 0; font: 15px/1.5 system-ui, sans-serif; background: var(--page); color: var(--ink) }
header, main { max-width: 72rem; margin: 0 auto; padding: 1rem 1.5rem }
header { border-left: .5rem solid var(--soft); margin-top: 1.5rem }
header.proven { border-color: var(--good) } header.refuted { border-color: var(--bad) } header.not-proven { border-color: var(--doubt) }
h1 { font-size: 1.4rem; margin: 0 } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
.chip { display: inline-block; border: 1px solid currentColor; border-radius: 1rem; padding: 0 .7rem; font-size: .85rem; font-weight: 500 }
.proven .chip.proven, .chip.proven { color: var(--good) } .chip.refuted { color: var(--bad) } .chip.not-proven { color: var(--doubt) }
.legend { color: var(--soft); font-size: .85rem }
.cell { display: inline-block; width: 1.4rem; text-align: center; border-radius: .2rem; margin-left: .6rem }
.scroll { overflow: auto; max-height: 80vh; border: 1px solid var(--line); border-radius: .4rem }
table { border-collapse: collapse; min-width: 100% }
th, td { padding: .35rem .8rem; border-bottom: 1px solid var(--line); text-align: left; font-weight: 400 }
thead th { position: sticky; top: 0; background: var(--page); vertical-align: bottom; text-align: center }
tbody th[scope=row] { position: sticky; left: 0; background: var(--page) }
th small { display: block; color: var(--soft); max-width: 24rem; overflow-wrap: anywhere }
thead small { margin: 0 auto; max-width: 14rem }
.group th { background: var(--quiet); color: var(--soft); font-size: .8rem; text-transform: uppercase; letter-spacing: .05em }
td { text-align: center; font-size: 1.1rem }
td.good, .cell.good { color: var(--good); background: color-mix(in srgb, var(--good) 16%, transparent); font-weight: 700 }
td.bad, .cell.bad, td.wrong { color: var(--bad); background: color-mix(in srgb, var(--bad) 18%, transparent); font-weight: 700 }
td.cni-dependent, .cell.cni-dependent { color: var(--doubt); background: color-mix(in srgb, var(--doubt) 18%, transparent); font-weight: 700 }
td.denied, .cell.denied { color: var(--soft) }
ul { padding-left: 1.2rem } li { margin: .5rem 0; overflow-wrap: anywhere } small { color: var(--soft) }
code { font-size: .9em } dl { display: grid; grid-template-columns: 3rem 1fr; gap: .25rem } dd { margin: 0 }
`
