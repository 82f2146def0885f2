package hub

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFirstStartChangesNothing: what is wrong with the configuration of a first start is found before a root key is made.
func TestFirstStartChangesNothing(t *testing.T) {
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte("t"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := Default()
	good.Deployment, good.Data = "test.internal", filepath.Join(dir, "hub")
	good.Overlay.HubToken, good.Overlay.AdminToken = token, token
	if err := os.Mkdir(good.Data, 0o700); err != nil {
		t.Fatal(err)
	}
	none := filepath.Join(dir, "none")
	for name, x := range map[string]struct {
		change func(*Config)
		says   string
	}{
		"no hub token":      {func(c *Config) { c.Overlay.HubToken = none }, "one-time token"},
		"no admin token":    {func(c *Config) { c.Overlay.AdminToken = none }, "one-time token"},
		"no token named":    {func(c *Config) { c.Overlay.AdminToken = "" }, "hub_token and admin_token"},
		"no ticket":         {func(c *Config) { c.Overlay.Ticket = none }, "ticket"},
		"no policies":       {func(c *Config) { c.Policies = none }, "policies"},
		"no secret":         {func(c *Config) { c.OpenID.Issuer, c.OpenID.ClientSecretFile = "https://idp.internal", none }, "client_secret_file"},
		"a relative folder": {func(c *Config) { c.Data = "hub-data" }, "write the whole path"},
	} {
		cfg := good
		x.change(&cfg)
		_, err := openRoot(t.Context(), cfg, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), x.says) {
			t.Errorf("%s: %v", name, err)
		}
		for _, path := range []string{filepath.Join(good.Data, rootKeyFile), filepath.Join("hub-data", rootKeyFile)} {
			if _, err := os.Stat(path); err == nil {
				t.Fatalf("%s: a root key was made", name)
			}
		}
	}
	if _, err := openRoot(t.Context(), good, slog.New(slog.DiscardHandler)); err != nil {
		t.Error(err)
	}
}
