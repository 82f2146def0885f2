import { defineConfig } from 'vite'

// The hub serves the result under a strict Content-Security-Policy: nothing inline, nothing from elsewhere. So
// assets are never turned into data: addresses, and there is no preload helper that would need an exception.
export default defineConfig({
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    outDir: '../internal/view/dashboard/dist',
    emptyOutDir: true, // public/.keep puts back the committed placeholder
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: 'es2022',
  },
  server: { proxy: { '/api': { target: 'http://127.0.0.1:8420', ws: true } } },
})
