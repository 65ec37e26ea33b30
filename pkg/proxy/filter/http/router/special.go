package httprouter

import (
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// specialOf tells whether attempts need more than most: upstream filters, a server name by header, or histograms.
func (f *Filter) specialOf(cfg *model.Cluster) bool {
	return f.upstream != nil || len(cfg.Filters) > 0 || cfg.SNIHeader != "" || cfg.TrackSizes || cfg.TrackBudgets
}

// nameServer takes the server name from the header that the cluster names, when the request has it.
func (x *exchange) nameServer() {
	if name := x.cluster.Config().SNIHeader; name != "" {
		x.opt.Authority = x.s.Request.Authority
		if v, ok := x.s.Request.Lookup(name); ok && v != "" {
			x.opt.Authority = v
		}
	}
}

// roundTripSpecially exchanges the heads through upstream filters, and records their sizes, as far as either is asked for.
func (x *exchange) roundTripSpecially() (err error) {
	if chain := x.upstreamChain(); chain != nil {
		err = x.through(chain)
	} else {
		err = x.stream.RoundTrip(x.s.Request, x.s.Response, x.onInfo)
	}
	if err == nil && x.cluster.Config().TrackSizes {
		x.trackHeads()
	}
	return err
}

// trackHeads records the sizes of the heads of an exchange, for clusters that track sizes.
func (x *exchange) trackHeads() {
	sizes := x.cluster.Stats().Sizes()
	rq, rs := &x.s.Request.Headers, &x.s.Response.Headers
	sizes.RqHeaders.Record(uint64(rq.ByteSize()))
	sizes.RqHeaderCount.Record(uint64(rq.Len()))
	sizes.RsHeaders.Record(uint64(rs.ByteSize()))
	sizes.RsHeaderCount.Record(uint64(rs.Len()))
}

// trackAttempt records the sizes of the bodies of an exchange and how much of its timeout it has used, as the cluster asks.
func (x *exchange) trackAttempt() {
	cfg := x.cluster.Config()
	if cfg.TrackSizes {
		n, sizes := x.stream.Counts(), x.cluster.Stats().Sizes()
		sizes.RqBody.Record(n.RequestBody)
		sizes.RsBody.Record(n.ResponseBody)
	}
	if info := x.s.Info; cfg.TrackBudgets {
		used := time.Duration(info.Since(time.Now()) - info.Timing.FirstUpstreamTx)
		x.cluster.Stats().Budgets().PerTry.Record(percentOf(used, x.limits.perTry))
	}
}

// trackBudget records how much of its timeout the request has used, for clusters that track that. As in Envoy an endless
// timeout is never used up.
func (x *exchange) trackBudget() {
	if x.cluster.Config().TrackBudgets {
		x.cluster.Stats().Budgets().Request.Record(percentOf(x.sinceRequest(), x.limits.global))
	}
}

func percentOf(used, timeout time.Duration) uint64 {
	if timeout <= 0 {
		return 0
	}
	return uint64(100 * used / timeout)
}
