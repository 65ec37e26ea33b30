package translate

import (
	"errors"
	"fmt"

	interceptionv1 "github.com/weir-proxy/weir/pkg/api/weir/interception/v1"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// decodeAcceleration translates an interceptionv1.Acceleration; nil is the default one.
func decodeAcceleration(a *interceptionv1.Acceleration) (model.Acceleration, error) {
	out := model.Acceleration{Applications: a.GetApplications(), MaxUnread: a.GetMaxUnreadBytes(), MinOperations: a.GetMinOperations()}
	var errs []error
	switch m := a.GetMode(); m {
	case interceptionv1.Acceleration_OFF:
	case interceptionv1.Acceleration_RECEIVE:
		out.Mode = model.AccelerateReceive
	case interceptionv1.Acceleration_FULL:
		out.Mode = model.AccelerateFull
	default:
		errs = append(errs, fmt.Errorf("mode: %d is none of OFF, RECEIVE and FULL", m))
	}
	switch named := len(out.Applications) > 0; {
	case out.Mode == model.AccelerateFull && !named:
		errs = append(errs, errors.New("applications: mode FULL needs the cgroups of applications that weir may send past TCP to"))
	case out.Mode == model.AccelerateNothing && named:
		errs = append(errs, errors.New("applications: mode OFF has no use for them"))
	}
	for n, name := range out.Applications {
		if err := checkCgroup(name); err != nil {
			errs = append(errs, fmt.Errorf("applications[%d]: %w", n, err))
		}
	}
	if n := out.MaxUnread; n != 0 && (n < model.MinMaxUnread || n > model.MaxMaxUnread) {
		errs = append(errs, fmt.Errorf("max_unread_bytes: %d is not between %d and %d", n, model.MinMaxUnread, model.MaxMaxUnread))
	}
	if n := out.MinOperations; n > model.MaxMinOperations {
		errs = append(errs, fmt.Errorf("min_operations: %d is more than %d", n, model.MaxMinOperations))
	}
	for i, err := range errs {
		errs[i] = fmt.Errorf("acceleration.%w", err)
	}
	return out, errors.Join(errs...)
}
