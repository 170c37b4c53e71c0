/** How many values there are in one that came from JSON, itself included: what a loop over it has to walk. */
export function countValues(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 1
  let count = 1
  if (Array.isArray(value)) for (const item of value) count += countValues(item)
  else for (const item of Object.values(value)) count += countValues(item)
  return count
}
