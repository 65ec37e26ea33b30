package router

import (
	"errors"
	"fmt"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/matcher"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// compileTree compiles the routes of the virtual host's matcher tree.
func (t *Table) compileTree(h *host) error {
	tree, ok := h.config.Matcher.(*matcher.Tree)
	if !ok {
		return fmt.Errorf("%T is not a matcher tree", h.config.Matcher)
	}
	h.tree, h.lists = tree, map[*model.RouteList]*index{}
	var errs []error
	tree.Actions(func(action any) {
		list, ok := action.(*model.RouteList)
		if !ok {
			errs = append(errs, fmt.Errorf("action %T is not a list of routes", action))
			return
		}
		if h.lists[list] != nil { // several ways lead to it
			return
		}
		routes, err := t.compileRoutes(h, list.Routes)
		if err != nil {
			errs = append(errs, err)
		}
		h.lists[list] = &routes
	})
	return errors.Join(errs...)
}

// fromTree asks the matcher tree for the routes of a request. It allocates, which requests to other virtual hosts do not.
func (h *host) fromTree(r *message.Request, info *streaminfo.Info, trace func(string)) *index {
	action, ok := h.tree.Match(&matcher.Data{Request: r, Info: info, Runtime: h.runtime, Trace: trace})
	if !ok {
		return &index{}
	}
	list, _ := action.(*model.RouteList)
	if routes := h.lists[list]; routes != nil {
		return routes
	}
	return &index{}
}
