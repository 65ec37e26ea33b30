package hcm

import (
	"strings"
	"sync"

	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// agentStats count the connections of one kind of client: http.<stat_prefix>.user_agent.<kind>.
type agentStats struct {
	cxTotal, cxDestroyRemoteActive, rqTotal *stats.Counter
	cxLength                                *stats.Histogram
}

// agents are the kinds of clients that Envoy tells apart. Their statistics are there from the first such client on.
type agents struct{ ios, android func() *agentStats }

// otherAgent stands for all other kinds; its statistics belong to no store.
var otherAgent = &agentStats{}

func newAgents(sc *stats.Scope) agents {
	of := func(kind string) func() *agentStats {
		return sync.OnceValue(func() *agentStats {
			below := sc.Scope("user_agent." + kind)
			return &agentStats{
				cxTotal: below.Counter("downstream_cx_total"), rqTotal: below.Counter("downstream_rq_total"),
				cxDestroyRemoteActive: below.Counter("downstream_cx_destroy_remote_active_rq"),
				cxLength:              below.Histogram("downstream_cx_length_ms", stats.Milliseconds),
			}
		})
	}
	return agents{of("ios"), of("android")}
}

// find gives those of a user-agent header. As in Envoy, case matters.
func (a agents) find(header string) *agentStats {
	switch {
	case strings.Contains(header, "iOS"):
		return a.ios()
	case strings.Contains(header, "android"):
		return a.android()
	}
	return otherAgent
}

// countAgent counts a request for the kind of client, which the first request of the connection tells.
func (c *connection) countAgent(req *message.Request) {
	a := c.agent.Load()
	if a == otherAgent {
		return
	}
	if a == nil {
		a = c.m.stats.agents.find(req.Headers.Get(message.UserAgent))
		if first := c.agent.CompareAndSwap(nil, a); !first {
			a = c.agent.Load()
		} else if a != otherAgent {
			a.cxTotal.Inc()
		}
		if a == otherAgent {
			return
		}
	}
	a.rqTotal.Inc()
}

// countAgentEnd counts the end of the connection for the kind of client; broken tells that the client ended it in the middle of
// a request.
func (c *connection) countAgentEnd(length uint64, broken bool) {
	a := c.agent.Load()
	if a == nil || a == otherAgent {
		return
	}
	a.cxLength.Record(length)
	if broken {
		a.cxDestroyRemoteActive.Inc()
	}
}
