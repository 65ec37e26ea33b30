package admin

import (
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// metrics are http.admin.* and listener.admin.*, as Envoy has them for its admin listener.
type metrics struct {
	cxTotal, listenerCxTotal     *stats.Counter
	cxActive, listenerCxActive   *stats.Gauge
	rqTotal, rqCompleted         *stats.Counter
	listenerCompleted            *stats.Counter
	rqActive                     *stats.Gauge
	rqClass, rqClassListener     [6]*stats.Counter // by the first digit of the status
	rqTime                       *stats.Histogram
	cxDestroy, listenerCxDestroy *stats.Counter
}

func newMetrics(root *stats.Scope) metrics {
	hcm, listener := root.Scope("http.admin"), root.Scope("listener.admin")
	m := metrics{
		cxTotal: hcm.Counter("downstream_cx_total"), listenerCxTotal: listener.Counter("downstream_cx_total"),
		cxActive: hcm.Gauge("downstream_cx_active"), listenerCxActive: listener.Gauge("downstream_cx_active"),
		cxDestroy: hcm.Counter("downstream_cx_destroy"), listenerCxDestroy: listener.Counter("downstream_cx_destroy"),
		rqTotal: hcm.Counter("downstream_rq_total"), rqCompleted: hcm.Counter("downstream_rq_completed"),
		listenerCompleted: listener.Counter("http.admin.downstream_rq_completed"),
		rqActive:          hcm.Gauge("downstream_rq_active"), rqTime: hcm.Histogram("downstream_rq_time", stats.Milliseconds),
	}
	for class := 1; class <= 5; class++ {
		name := "downstream_rq_" + strconv.Itoa(class) + "xx"
		m.rqClass[class], m.rqClassListener[class] = hcm.Counter(name), listener.Counter("http.admin."+name)
	}
	return m
}

// connection follows the connections of the HTTP server.
func (m *metrics) connection(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		m.cxTotal.Inc()
		m.listenerCxTotal.Inc()
		m.cxActive.Inc()
		m.listenerCxActive.Inc()
	case http.StateClosed, http.StateHijacked:
		m.cxDestroy.Inc()
		m.listenerCxDestroy.Inc()
		m.cxActive.Dec()
		m.listenerCxActive.Dec()
	}
}

func (m *metrics) begin() {
	m.rqTotal.Inc()
	m.rqActive.Inc()
}

func (m *metrics) end(status int, took time.Duration) {
	m.rqActive.Dec()
	m.rqCompleted.Inc()
	m.listenerCompleted.Inc()
	if class := status / 100; class >= 1 && class <= 5 {
		m.rqClass[class].Inc()
		m.rqClassListener[class].Inc()
	}
	m.rqTime.Record(uint64(took.Milliseconds()))
}
