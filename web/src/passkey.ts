// Passkeys (WebAuthn). They are bound to one host name: elsewhere the browser refuses them, and so do we, with a hint.
interface FromJSON {
  parseCreationOptionsFromJSON(o: unknown): PublicKeyCredentialCreationOptions
  parseRequestOptionsFromJSON(o: unknown): PublicKeyCredentialRequestOptions
}

import { tr } from './lang'
export function passkeysHere(host: string): boolean {
  return host !== '' && window.location.hostname === host && window.isSecureContext && 'PublicKeyCredential' in window && 'parseRequestOptionsFromJSON' in PublicKeyCredential
}

const inner = (options: unknown): unknown => (options as { publicKey?: unknown }).publicKey ?? options

const text = (c: Credential | null): unknown => {
  if (!c) throw new Error(tr('No passkey was chosen.'))
  return (c as unknown as { toJSON(): unknown }).toJSON()
}

// showPasskey asks the browser for a passkey and gives what the hub wants to see of it.
export async function showPasskey(options: unknown): Promise<unknown> {
  const publicKey = (PublicKeyCredential as unknown as FromJSON).parseRequestOptionsFromJSON(inner(options))
  return text(await navigator.credentials.get({ publicKey }))
}

// makePasskey lets the browser make one.
export async function makePasskey(options: unknown): Promise<unknown> {
  const publicKey = (PublicKeyCredential as unknown as FromJSON).parseCreationOptionsFromJSON(inner(options))
  return text(await navigator.credentials.create({ publicKey }))
}
