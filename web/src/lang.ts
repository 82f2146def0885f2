// The language of the page: what was chosen on this workstation, else what the browser prefers, else English. It is settled before any
// text is made; another choice loads the page anew.
import { german } from './german'

export type Lang = 'en' | 'de'

const keptKey = 'vitalseal.lang'

function settle(): Lang {
  let kept: string | null = null
  try {
    kept = window.localStorage.getItem(keptKey)
  } catch {
    // a browser that keeps nothing
  }
  for (const l of [kept ?? '', ...navigator.languages]) {
    const two = l.slice(0, 2).toLowerCase()
    if (two === 'en' || two === 'de') return two
  }
  return 'en'
}

export const lang: Lang = settle()
document.documentElement.lang = lang

// chooseLang keeps a choice on this workstation and shows the page in it.
export function chooseLang(to: Lang): void {
  try {
    window.localStorage.setItem(keptKey, to)
  } catch {
    return
  }
  window.location.reload()
}

// tr is an English text in the language of the page; {0}, {1}... are replaced by values. A text without a German one does not compile.
export function tr(text: keyof typeof german, ...values: (string | number)[]): string {
  const said: string = lang === 'de' ? german[text] : text
  return said.replace(/\{(\d)\}/g, (_, i: string) => String(values[Number(i)] ?? ''))
}

// hubSays is a text that the hub made: in German where the page knows it, else as it came.
export function hubSays(text: string): string {
  return (lang === 'de' && (german as Record<string, string>)[text]) || text
}
