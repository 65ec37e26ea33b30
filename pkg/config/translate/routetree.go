package translate

import (
	"errors"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-proxy/weir/pkg/config/extension/decode"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// errReported stands for faults that were recorded where they were found.
var errReported = errors.New("reported")

// routeTree translates VirtualHost.matcher, whose actions are routes and lists of routes.
func (c *call) routeTree(m *routev3.VirtualHost, out *model.VirtualHost, maxBody int, p *path) {
	if len(m.GetRoutes()) > 0 {
		c.fail(p, "cannot set both routes and matcher on virtual host")
		return
	}
	p = p.field("matcher")
	if c.t.opt.DecodeMatcher == nil {
		c.unsupported(p)
		return
	}
	tree, err := c.t.opt.DecodeMatcher(m.GetMatcher(), c.treeReader(p, func(e *xdscorev3.TypedExtensionConfig, at *path) any {
		list := &model.RouteList{Routes: c.treeRoutes(e, maxBody, at)}
		out.MatcherRoutes = append(out.MatcherRoutes, list.Routes...)
		return list
	}))
	c.pathErrors(err, p)
	out.Matcher = tree
}

// treeRoutes translates an action: a route or a list of them.
func (c *call) treeRoutes(e *xdscorev3.TypedExtensionConfig, maxBody int, p *path) []*model.Route {
	p = p.field("typed_config")
	switch m := c.unpack(e.GetTypedConfig(), p).(type) {
	case nil:
	case *routev3.Route:
		return []*model.Route{c.route(m, maxBody, p)}
	case *routev3.RouteList:
		var out []*model.Route
		for i, r := range m.GetRoutes() {
			out = append(out, c.route(r, maxBody, p.elem("routes", i)))
		}
		return out
	default:
		c.fail(p, "the action must be a %s or a %s", (&routev3.Route{}).ProtoReflect().Descriptor().FullName(), (&routev3.RouteList{}).ProtoReflect().Descriptor().FullName())
	}
	return nil
}

// treeReader reads what a tree at p holds, with actions as action decodes them.
func (c *call) treeReader(p *path, action func(e *xdscorev3.TypedExtensionConfig, at *path) any) decode.TreeReader {
	return decode.TreeReader{
		Extension: func(category string, e *xdscorev3.TypedExtensionConfig, at string) (any, error) {
			f, v := c.extension(category, e.GetName(), e.GetTypedConfig(), false, p.field(at))
			if f == nil {
				return nil, errReported
			}
			return v, nil
		},
		Unpack: func(a *anypb.Any, at string) (proto.Message, error) {
			if m := c.unpack(a, p.field(at)); m != nil {
				return m, nil
			}
			return nil, errReported
		},
		Action: func(e *xdscorev3.TypedExtensionConfig, at string) (any, error) {
			return action(e, p.field(at)), nil
		},
	}
}

// pathErrors records what err joins, below p.
func (c *call) pathErrors(err error, p *path) {
	if err == nil || errors.Is(err, errReported) && !isJoined(err) {
		return
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range many.Unwrap() {
			c.pathErrors(e, p)
		}
		return
	}
	if at, ok := errors.AsType[*decode.PathError](err); ok && at.Path != "" {
		c.fail(p.field(at.Path), "%v", at.Err)
		return
	}
	c.fail(p, "%v", err)
}

func isJoined(err error) bool {
	_, ok := err.(interface{ Unwrap() []error })
	return ok
}
