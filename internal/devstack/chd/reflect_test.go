package chd_test

import "reflect"

// newOf is a pointer to a zero value of v's type, for Scan.
func newOf(v any) any { return reflect.New(reflect.TypeOf(v)).Interface() }

func deref(p any) any { return reflect.ValueOf(p).Elem().Interface() }
