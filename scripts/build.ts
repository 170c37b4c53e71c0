import { spawnSync } from 'node:child_process'
import { chmodSync, rmSync } from 'node:fs'
import { join } from 'node:path'

/** `npm run build`: dist/ from scratch, so that nothing of an older tree is packed. */
const root = join(import.meta.dirname, '..')
const dist = join(root, 'dist')

rmSync(dist, { recursive: true, force: true })
const tsc = join(root, 'node_modules', '.bin', 'tsc')
const { status } = spawnSync(tsc, ['-p', 'tsconfig.build.json'], { cwd: root, stdio: 'inherit' })
if (status !== 0) process.exit(1)
// The program of `bin`; npm sets the bit when it installs, a checkout of dist/ has nobody to.
chmodSync(join(dist, 'src', 'main.js'), 0o755)
