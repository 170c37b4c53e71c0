import type { Generation } from '../generation.ts'
import type { GenerationServices } from '../services.ts'
import { Explainer } from './explainer.ts'
import type { Explanation } from './explanation.ts'
import type { Question } from './question.ts'

/** Explains the configuration in force. What it takes is built with the first question, and anew after a reload. */
export class LiveExplainer {
  readonly #current: () => Generation
  readonly #services: GenerationServices
  #explained: Generation | null = null
  #explainer: Promise<Explainer> | null = null

  constructor(current: () => Generation, services: GenerationServices) {
    this.#current = current
    this.#services = services
  }

  async explain(question: Question): Promise<Explanation> {
    return (await this.#explainerOf(this.#current())).explain(question)
  }

  async close(): Promise<void> {
    const explainer = await this.#explainer?.catch(() => null)
    this.#explainer = null
    await explainer?.close()
  }

  #explainerOf(generation: Generation): Promise<Explainer> {
    if (generation === this.#explained && this.#explainer !== null) return this.#explainer
    void this.close()
    this.#explained = generation
    const { config, hash, plugins } = generation
    const made = Explainer.create({ config, hash, plugins, services: this.#services })
    this.#explainer = made
    // The next question tries again.
    made.catch(() => {
      if (this.#explainer === made) this.#explainer = null
    })
    return made
  }
}
