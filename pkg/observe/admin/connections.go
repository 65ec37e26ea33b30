package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
)

// Connections lists the connections there are, in user space and in the kernel.
type Connections interface {
	// LiveConnections lists at most limit connections. It takes time in proportion to the number of all.
	LiveConnections(limit int) ConnectionList
}

// ConnectionList is an answer. It is printed as JSON by encoding/json.
type ConnectionList interface {
	// Text is the answer for people.
	Text() string
}

// Bounds on the limit of /weir/connections.
const (
	defaultConnections = 1000
	maxConnections     = 100_000
)

// connections answers /weir/connections.
func (s *Server) connections(p *reply, r *request) error {
	limit := defaultConnections
	if text := r.query["limit"]; text != "" {
		var err error
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxConnections {
			p.text(http.StatusBadRequest, fmt.Sprintf("limit: %q is not a number from 1 to %d\n", text, maxConnections))
			return nil
		}
	}
	format := r.query["format"]
	if format != "" && format != "json" && format != "text" {
		p.text(http.StatusBadRequest, fmt.Sprintf("format: %q is neither json nor text\n", format))
		return nil
	}
	var list ConnectionList = noConnections{Connections: []string{}}
	if s.opt.Connections != nil {
		list = s.opt.Connections.LiveConnections(limit)
	}
	if format == "text" {
		p.text(http.StatusOK, list.Text())
		return nil
	}
	out, err := json.MarshalIndent(list, "", " ")
	if err != nil {
		return fmt.Errorf("print connections: %w", err)
	}
	p.json(append(out, '\n'))
	return nil
}

// noConnections is the answer of a process that has no list.
type noConnections struct {
	Connections []string `json:"connections"`
}

// Text implements ConnectionList.
func (noConnections) Text() string { return "no connections\n" }
