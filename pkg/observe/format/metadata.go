package format

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

func metadataOperators() map[string]operator {
	dynamic := func(c *Context) map[string]map[string]any {
		if c.Info == nil {
			return nil
		}
		return c.Info.Dynamic
	}
	route := func(c *Context) map[string]map[string]any { return c.RouteMetadata }
	cluster := func(c *Context) map[string]map[string]any { return c.ClusterMetadata }
	host := func(c *Context) map[string]map[string]any { return c.HostMetadata }
	return map[string]operator{
		"DYNAMIC_METADATA":  metadataOperator(dynamic),
		"CLUSTER_METADATA":  metadataOperator(cluster),
		"UPSTREAM_METADATA": metadataOperator(host),
		"METADATA": {args: argsRequired, length: true, kind: kindJSON, json: func(args string) (appender, appender, error) {
			kind, rest, _ := strings.Cut(args, ":")
			of, ok := map[string]metadataOf{"DYNAMIC": dynamic, "ROUTE": route, "CLUSTER": cluster, "UPSTREAM_HOST": host}[kind]
			if !ok {
				return nil, nil, fmt.Errorf("metadata kind %q is not one of DYNAMIC, ROUTE, CLUSTER, UPSTREAM_HOST", kind)
			}
			return bindMetadata(of, rest)
		}},
		"FILTER_STATE": {args: argsRequired, length: true, kind: kindJSON, json: bindFilterState},
	}
}

type metadataOf func(*Context) map[string]map[string]any

func metadataOperator(of metadataOf) operator {
	return operator{args: argsRequired, length: true, kind: kindJSON, json: func(args string) (appender, appender, error) {
		return bindMetadata(of, args)
	}}
}

// bindMetadata compiles "NAMESPACE:KEY:KEY...".
func bindMetadata(of metadataOf, args string) (text, json appender, err error) {
	path := strings.Split(args, ":")
	if path[0] == "" {
		return nil, nil, errors.New("needs the namespace of the metadata")
	}
	find := func(c *Context) (any, bool) {
		ns, ok := of(c)[path[0]]
		if !ok {
			return nil, false
		}
		var v any = ns
		for _, key := range path[1:] {
			m, ok := v.(map[string]any)
			if !ok {
				return nil, false
			}
			if v, ok = m[key]; !ok {
				return nil, false
			}
		}
		return v, v != nil
	}
	text = func(dst []byte, c *Context) ([]byte, bool) {
		v, ok := find(c)
		if !ok {
			return dst, false
		}
		if s, isText := v.(string); isText {
			return append(dst, s...), true
		}
		return appendJSON(dst, v), true
	}
	json = func(dst []byte, c *Context) ([]byte, bool) {
		v, ok := find(c)
		if !ok {
			return dst, false
		}
		return appendJSON(dst, v), true
	}
	return text, json, nil
}

// Keys of filter state under which weir tells where a captured connection comes from.
const (
	// networkNamespace is the name of the network namespace: that of its file, else "net:[NUMBER]". Connections of weir's own
	// namespace have none.
	networkNamespace = "weir.network_namespace"
	// callerCgroup is the cgroup of the process that connected, by its name below the root of the hierarchy; callerContainer the
	// whole id of the container that the cgroup belongs to. Of datagrams it is the cgroup that the socket was made in, if that is open
	// when the session begins. Connections that came in have neither.
	callerCgroup    = "weir.cgroup"
	callerContainer = "weir.container"
)

// captured is what weir knows under a key of its own.
func captured(conn *streaminfo.Connection, key string) (string, bool) {
	switch {
	case key == networkNamespace && conn.Namespace != nil:
		return conn.Namespace.Name, true
	case (key == callerCgroup || key == callerContainer) && conn.Cgroup.Names != nil:
		name, container := conn.Cgroup.Names(conn.Cgroup.ID)
		if key == callerContainer {
			name = container
		}
		return name, name != ""
	}
	return "", false
}

// bindFilterState compiles "KEY", "KEY:PLAIN" or "KEY:TYPED".
func bindFilterState(args string) (text, json appender, err error) {
	key, form, _ := strings.Cut(args, ":")
	if key == "" {
		return nil, nil, errors.New("needs the key of the filter state")
	}
	if form != "" && form != "PLAIN" && form != "TYPED" {
		return nil, nil, fmt.Errorf("form %q is not one of PLAIN, TYPED", form)
	}
	ours := key == networkNamespace || key == callerCgroup || key == callerContainer
	find := func(c *Context) (any, bool) {
		if c.Info == nil {
			return nil, false
		}
		if ours && c.Info.Conn != nil {
			if v, ok := captured(c.Info.Conn, key); ok {
				return v, true
			}
		}
		v, ok := c.Info.FilterState[key]
		return v, ok && v != nil
	}
	json = func(dst []byte, c *Context) ([]byte, bool) {
		v, ok := find(c)
		if !ok {
			return dst, false
		}
		return appendJSON(dst, v), true
	}
	if form != "PLAIN" {
		return json, json, nil
	}
	return func(dst []byte, c *Context) ([]byte, bool) {
		v, ok := find(c)
		if !ok {
			return dst, false
		}
		switch v := v.(type) {
		case string:
			return append(dst, v...), true
		case fmt.Stringer:
			return append(dst, v.String()...), true
		}
		return appendJSON(dst, v), true
	}, json, nil
}

// appendJSON writes a plain Go value as JSON, map keys sorted.
func appendJSON(dst []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...)
	case string:
		return AppendJSONString(dst, v)
	case bool:
		return strconv.AppendBool(dst, v)
	case float64:
		return appendFloat(dst, v)
	case int:
		return strconv.AppendInt(dst, int64(v), 10)
	case int64:
		return strconv.AppendInt(dst, v, 10)
	case uint64:
		return strconv.AppendUint(dst, v, 10)
	case []any:
		dst = append(dst, '[')
		for i, e := range v {
			dst = appendJSON(comma(dst, i), e)
		}
		return append(dst, ']')
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		dst = append(dst, '{')
		for i, k := range keys {
			dst = append(AppendJSONString(comma(dst, i), k), ':')
			dst = appendJSON(dst, v[k])
		}
		return append(dst, '}')
	case fmt.Stringer:
		return AppendJSONString(dst, v.String())
	}
	return AppendJSONString(dst, fmt.Sprint(v))
}

// appendFloat writes integers without exponent, as protobuf's JSON does; JSON has no infinities.
func appendFloat(dst []byte, f float64) []byte {
	if f-f != 0 {
		return append(dst, "null"...)
	}
	if f == float64(int64(f)) {
		return strconv.AppendInt(dst, int64(f), 10)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, 64)
}
