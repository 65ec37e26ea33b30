package admin

import "net/http"

// recentLookups answers /stats/recentlookups. Statistics are found by name when what counts in them is made, and never while requests
// are served, so that there are none to show.
func (s *Server) recentLookups(p *reply, _ *request) error {
	if !s.lookups.Load() {
		p.text(http.StatusOK, "Lookup tracking is not enabled. Use /stats/recentlookups/enable to enable.\n")
		return nil
	}
	p.text(http.StatusOK, "   Count Lookup\n\ntotal: 0\n")
	return nil
}

// recentLookupsEnable answers /stats/recentlookups/enable.
func (s *Server) recentLookupsEnable(p *reply, _ *request) error {
	s.lookups.Store(true)
	p.ok()
	return nil
}

// recentLookupsDisable answers /stats/recentlookups/disable.
func (s *Server) recentLookupsDisable(p *reply, _ *request) error {
	s.lookups.Store(false)
	p.ok()
	return nil
}

// recentLookupsClear answers /stats/recentlookups/clear.
func (s *Server) recentLookupsClear(p *reply, _ *request) error {
	p.ok()
	return nil
}
