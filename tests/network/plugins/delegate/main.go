// Delegate is a CNI plugin that attaches a pod to several networks by calling other plugins, as
// Multus does: each object of its "delegates" is a plugin's configuration. The first gets the
// interface that the runtime asked for, the others net1, net2 and so on; the result has the
// interfaces and addresses of all.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"
)

type config struct {
	types.NetConf
	Delegates []map[string]any `json:"delegates"`
}

type delegate struct {
	plugin string
	input  []byte
	ifname string
}

// read gives each delegate the version of the list, and a network name of its own.
func read(args *skel.CmdArgs) (*config, []delegate, error) {
	conf := &config{}
	if err := json.Unmarshal(args.StdinData, conf); err != nil {
		return nil, nil, err
	}
	var delegates []delegate
	for i, object := range conf.Delegates {
		plugin, _ := object["type"].(string)
		object["cniVersion"] = conf.CNIVersion
		object["name"] = fmt.Sprintf("%s-%d", conf.Name, i)
		input, err := json.Marshal(object)
		if err != nil {
			return nil, nil, err
		}
		ifname := args.IfName
		if i > 0 {
			ifname = fmt.Sprintf("net%d", i)
		}
		delegates = append(delegates, delegate{plugin, input, ifname})
	}
	return conf, delegates, nil
}

// call runs the delegate with its own interface name and the rest of our environment.
func (d delegate) call(args *skel.CmdArgs, command string) (types.Result, error) {
	path, err := invoke.FindInPath(d.plugin, filepath.SplitList(args.Path))
	if err != nil {
		return nil, err
	}
	environment := &invoke.Args{
		Command:       command,
		ContainerID:   args.ContainerID,
		NetNS:         args.Netns,
		PluginArgsStr: args.Args,
		IfName:        d.ifname,
		Path:          args.Path,
	}
	if command == "ADD" {
		return invoke.ExecPluginWithResult(context.Background(), path, d.input, environment, nil)
	}
	return nil, invoke.ExecPluginWithoutResult(context.Background(), path, d.input, environment, nil)
}

func add(args *skel.CmdArgs) error {
	conf, delegates, err := read(args)
	if err != nil {
		return err
	}
	sum := &types100.Result{CNIVersion: types100.ImplementedSpecVersion}
	for _, d := range delegates {
		result, err := d.call(args, "ADD")
		if err != nil {
			return fmt.Errorf("delegate %s: %w", d.plugin, err)
		}
		one, err := types100.NewResultFromResult(result)
		if err != nil {
			return err
		}
		offset := len(sum.Interfaces)
		for _, ip := range one.IPs {
			if ip.Interface != nil {
				ip.Interface = types100.Int(*ip.Interface + offset)
			}
		}
		sum.Interfaces = append(sum.Interfaces, one.Interfaces...)
		sum.IPs = append(sum.IPs, one.IPs...)
		sum.Routes = append(sum.Routes, one.Routes...)
	}
	return types.PrintResult(sum, conf.CNIVersion)
}

// each runs a command of all delegates, the last first, and goes on after errors.
func each(command string) func(args *skel.CmdArgs) error {
	return func(args *skel.CmdArgs) error {
		_, delegates, err := read(args)
		if err != nil {
			return err
		}
		var failed []error
		for i := len(delegates) - 1; i >= 0; i-- {
			if _, err := delegates[i].call(args, command); err != nil {
				failed = append(failed, err)
			}
		}
		return errors.Join(failed...)
	}
}

func main() {
	skel.PluginMainFuncs(skel.CNIFuncs{
		Add:    add,
		Del:    each("DEL"),
		Status: each("STATUS"),
	}, version.All, "delegate: a CNI plugin of Berth's tests")
}
