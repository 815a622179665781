"""What can go wrong around the app: killed processes, full disks, clocks, two servers, hostile inputs."""
