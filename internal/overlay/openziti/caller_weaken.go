//go:build weaken

package openziti

// SourceIdentifier is the caller id that the other end wrote.
func (c *counted) SourceIdentifier() string {
	if said, ok := c.Conn.(interface{ SourceIdentifier() string }); ok {
		return said.SourceIdentifier()
	}
	return ""
}
