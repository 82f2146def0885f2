// What a page says where passkeys cannot work, because it was opened under another name than the one that they are bound to.
import { tr } from './lang'

// passkeyAddress is this page's address under the name that passkeys are bound to: the same program answers there.
export function passkeyAddress(host: string, here: { protocol: string; port: string }): string {
  return `${here.protocol}//${host}${here.port ? ':' + here.port : ''}/`
}

export function PasskeyHint(p: { host: string; password?: boolean }) {
  const address = passkeyAddress(p.host, window.location)
  return (
    <p class="quietly" data-testid="passkey-hint">
      {tr('Passkeys do not work at this address. To use one, open')}{' '}<a href={address}>{address}</a>
      {p.password ? tr('. A password works here, too.') : '.'}
    </p>
  )
}
