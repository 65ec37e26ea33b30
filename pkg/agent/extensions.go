package agent

import (
	"slices"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/observe/accesslog"
	"github.com/weir-proxy/weir/pkg/observe/accesslog/grpclog"
	"github.com/weir-proxy/weir/pkg/observe/sinks/metricsservice"
	"github.com/weir-proxy/weir/pkg/observe/sinks/opentelemetry"
	"github.com/weir-proxy/weir/pkg/observe/sinks/statsd"
	"github.com/weir-proxy/weir/pkg/proxy/filter/earlymutation"
	"github.com/weir-proxy/weir/pkg/proxy/filter/http/buffer"
	"github.com/weir-proxy/weir/pkg/proxy/filter/http/grpchttp1bridge"
	"github.com/weir-proxy/weir/pkg/proxy/filter/http/grpcweb"
	"github.com/weir-proxy/weir/pkg/proxy/filter/http/headermutation"
	"github.com/weir-proxy/weir/pkg/proxy/filter/http/healthcheck"
	"github.com/weir-proxy/weir/pkg/proxy/filter/http/ondemand"
	httprouter "github.com/weir-proxy/weir/pkg/proxy/filter/http/router"
	"github.com/weir-proxy/weir/pkg/proxy/filter/http/upstreamcodec"
	"github.com/weir-proxy/weir/pkg/proxy/filter/listener/httpinspector"
	"github.com/weir-proxy/weir/pkg/proxy/filter/listener/originaldst"
	"github.com/weir-proxy/weir/pkg/proxy/filter/listener/originalsrc"
	"github.com/weir-proxy/weir/pkg/proxy/filter/listener/tlsinspector"
	"github.com/weir-proxy/weir/pkg/proxy/filter/network/connectionlimit"
	networkrbac "github.com/weir-proxy/weir/pkg/proxy/filter/network/rbac"
	"github.com/weir-proxy/weir/pkg/proxy/filter/originalip"
	"github.com/weir-proxy/weir/pkg/proxy/matcher"
)

// extensions lists every extension of this build; adding one is a line here.
func extensions() []extension.Factory {
	return slices.Concat(
		httprouter.Factories(),
		[]extension.Factory{httpinspector.Factory(), originaldst.Factory(), originalsrc.Factory(), tlsinspector.Factory(), upstreamcodec.Factory()},
		[]extension.Factory{
			buffer.Factory(), grpchttp1bridge.Factory(), grpcweb.Factory(), headermutation.Factory(), healthcheck.Factory(), ondemand.Factory(),
		},
		[]extension.Factory{earlymutation.Factory()},
		originalip.Factories(),
		[]extension.Factory{networkrbac.Factory(), connectionlimit.Factory()},
		accesslog.Factories(),
		statsd.Factories(), []extension.Factory{metricsservice.Factory(), opentelemetry.Factory()},
		grpclog.Factories(),
		matcher.Factories(),
	)
}
