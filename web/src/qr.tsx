// A QR code as SVG. The hub works out the pattern: it made the secret that is in it.
import { tr } from './lang'
import { useEffect, useState } from 'preact/hooks'
import { ask } from './api'

export function QR({ text, label }: { text: string; label: string }) {
  const [rows, setRows] = useState<string[]>()
  const [failed, setFailed] = useState(false)
  useEffect(() => {
    setRows(undefined)
    setFailed(false)
    ask<{ rows: string[] }>('POST', '/api/account/qr', { text }).then(
      (a) => setRows(a.rows),
      () => setFailed(true),
    )
  }, [text])
  if (failed) return <p class="quietly">{tr('Too long for a QR code: use the file.')}</p>
  if (!rows) return <p class="quietly">{tr('Drawing…')}</p>
  const path = rows.map((r, y) => [...r].map((c, x) => (c === '1' ? `M${x} ${y}h1v1h-1z` : '')).join('')).join('')
  return (
    <svg class={rows.length > 90 ? 'qr qr-big' : 'qr'} viewBox={`-4 -4 ${rows.length + 8} ${rows.length + 8}`} role="img" aria-label={label} data-testid="qr" shape-rendering="crispEdges">
      <rect x="-4" y="-4" width="100%" height="100%" fill="#fff" />
      <path d={path} fill="#000" />
    </svg>
  )
}
