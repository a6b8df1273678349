package main

import "github.com/spf13/cobra"

func uiCommand() *cobra.Command {
	return &cobra.Command{Use: "ui", Short: "Serve the page", Example: "  simctl ui"}
}
