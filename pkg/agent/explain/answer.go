package explain

import "fmt"

// Answer is what becomes of a connection, in the order in which it happens.
type Answer struct {
	// Query is the question in words.
	Query string `json:"query"`
	Steps []Step `json:"steps"`
	// Outcome is one of the Outcome constants, Verdict the same in words.
	Outcome string `json:"outcome"`
	Verdict string `json:"verdict"`
}

// Step is one decision.
type Step struct {
	// Name of the decision: kernel, listener, filter chain, filter, route or cluster.
	Name   string `json:"step"`
	Result string `json:"result"`
	// Details say what decided it.
	Details []Detail `json:"details,omitempty"`
	// Endpoints of a cluster.
	Endpoints []Endpoint `json:"endpoints,omitempty"`
	// Notes say what is unknown or easily overlooked.
	Notes []string `json:"notes,omitempty"`
}

// Detail is a named fact.
type Detail struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Endpoint is one host of a cluster.
type Endpoint struct {
	Address           string `json:"address"`
	Hostname          string `json:"hostname,omitempty"`
	Health            string `json:"health"`
	Weight            uint32 `json:"weight"`
	Priority          uint32 `json:"priority"`
	Locality          string `json:"locality,omitempty"`
	ActiveConnections int64  `json:"active_connections"`
	ActiveRequests    int64  `json:"active_requests"`
}

func (s *Step) detail(name, format string, args ...any) {
	if len(args) > 0 {
		format = fmt.Sprintf(format, args...)
	}
	s.Details = append(s.Details, Detail{name, format})
}

func (s *Step) note(format string, args ...any) {
	if len(args) > 0 {
		format = fmt.Sprintf(format, args...)
	}
	s.Notes = append(s.Notes, format)
}
