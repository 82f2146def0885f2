package hub_test

import (
	"testing"

	"github.com/goccy/go-yaml"

	"vitalseal/internal/hub"
)

// TestExampleLoads keeps the documented configuration complete and true.
func TestExampleLoads(t *testing.T) {
	c := hub.Default()
	must(t, yaml.UnmarshalWithOptions(hub.Example, &c, yaml.Strict()))
	must(t, c.Validate())
	want := hub.Default()
	if c.IdentityLifetime != want.IdentityLifetime || c.TicketLifetime != want.TicketLifetime || c.SecureCookies != want.SecureCookies || c.Policies != want.Policies {
		t.Errorf("the example says %+v where the defaults are %+v", c, want)
	}
	var keys map[string]any
	must(t, yaml.Unmarshal(hub.Example, &keys))
	b, err := yaml.Marshal(c)
	must(t, err)
	var all map[string]any
	must(t, yaml.Unmarshal(b, &all))
	for k := range all {
		if _, ok := keys[k]; !ok {
			t.Errorf("the example does not document %s", k)
		}
	}
}
