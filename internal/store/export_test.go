package store

// PartitionsOpen is how many days' files are open.
func (s *Store) PartitionsOpen() int {
	s.parts.mu.Lock()
	defer s.parts.mu.Unlock()
	return len(s.parts.open)
}

// RecodeCell decodes a trend and encodes it again.
func RecodeCell(b []byte) ([]byte, error) {
	var c cell
	if err := c.decode(b); err != nil {
		return nil, err
	}
	return c.encode(), nil
}

// OnDisk puts a registered VFS below all databases that are opened from now on.
func OnDisk(name string) { onDisk = "&vfs=" + name }

// OnRealDisk ends it.
func OnRealDisk() { onDisk = "" }
