export interface Person {
  readonly name: string
  readonly password: string
  readonly groups: readonly string[]
}

/** Who can sign in at the demo's identity provider. */
export const people: Readonly<Record<string, Person>> = {
  ada: { name: 'Ada Lovelace', password: 'lantern', groups: ['staff', 'admins'] },
  bob: { name: 'Bob Shaw', password: 'compass', groups: ['staff'] }
}

export function personOf(user: string): Person | undefined {
  return Object.hasOwn(people, user) ? people[user] : undefined
}

/** `ada / lantern`, for whoever looks at the demo. */
export function accounts(): string[] {
  return Object.entries(people).map(([user, { password }]) => `${user} / ${password}`)
}
