import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import t from 'tap'
import { chromium, skipWithoutBrowser as skip } from '../../fixtures/chromium.ts'
import { type Picture, readPng } from './png.ts'

/** The page as a person sees it: a real browser draws the golden pages, and the colours are looked up in the picture. */
type Scheme = 'light' | 'dark'

function draw(folder: string, page: string, scheme: Scheme): Picture {
  const picture = join(folder, 'page.png')
  const flags = [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--hide-scrollbars',
    '--window-size=1200,1000'
  ]
  const look = `--blink-settings=preferredColorScheme=${scheme === 'dark' ? 0 : 1}`
  const profile = `--user-data-dir=${join(folder, 'profile')}`
  const url = `file://${resolve(`test/golden/perimeter/${page}/verify.html`)}`
  execFileSync(chromium, [...flags, look, profile, `--screenshot=${picture}`, url], {
    stdio: 'ignore'
  })
  return readPng(readFileSync(picture))
}

/** How many of a grid of points over the page are clearly more of one colour than of the others. */
function count(picture: Picture, isTinted: (red: number, green: number, blue: number) => boolean): number {
  let found = 0
  for (let y = 0; y < picture.height; y += 4) {
    for (let x = 0; x < picture.width; x += 4) if (isTinted(...picture.at(x, y))) found++
  }
  return found
}

const isGreen = (red: number, green: number, blue: number): boolean => green > red + 6 && green > blue + 4
const isRed = (red: number, green: number, blue: number): boolean =>
  red > green + 20 && red > blue + 15 && green < blue + 15

t.test(
  'the page of a proven perimeter is green where somebody may connect, and nowhere red',
  { skip },
  async t => {
    const picture = draw(t.testdir({}), 'textbook', 'light')
    t.equal(picture.width, 1200)
    // Three cells of the gateway and one declared edge, some 200 by 60 pixels each, seen through a 4-pixel grid.
    t.ok(count(picture, isGreen) > 1500, `${count(picture, isGreen)} green points`)
    t.ok(count(picture, isRed) < 200, `${count(picture, isRed)} red points: only the legend`)
  }
)

t.test('the page of a refuted one is red where something is wrong', { skip }, async t => {
  const picture = draw(t.testdir({}), 'mistakes', 'light')
  t.ok(count(picture, isRed) > 600, `${count(picture, isRed)} red points`)
})

t.test('the page follows a dark setting', { skip }, async t => {
  const folder = t.testdir({})
  const [light] = draw(folder, 'textbook', 'light').at(5, 5)
  const [dark] = draw(folder, 'textbook', 'dark').at(5, 5)
  t.ok(light > 240, `the paper is light: ${light}`)
  t.ok(dark < 40, `and dark: ${dark}`)
})
