package hcm

// ScopeTables is the number of route tables that are held for scopes.
func (m *Manager) ScopeTables() int {
	m.scopes.mu.Lock()
	defer m.scopes.mu.Unlock()
	return m.scopes.held
}
