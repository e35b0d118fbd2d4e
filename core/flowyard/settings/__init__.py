"""Settings: from code, environment, profile or default. The names are Prefect 2's, with `FLOWYARD_`."""

from flowyard.settings import names
from flowyard.settings.current import (
    get_current_settings,
    get_default_settings,
    get_settings_from_env,
    load_current_profile,
    load_profile,
    load_profiles,
    profiles_path,
    save_profiles,
    temporary_settings,
    update_current_profile,
    use_profile,
)
from flowyard.settings.model import BY_NAME, Settings, find_setting
from flowyard.settings.profiles import Profile, ProfilesCollection
from flowyard.settings.setting import Setting

from .names import *  # noqa: F403  all settings; relative because pyright takes no wildcard from an installed package

__all__ = [
    "BY_NAME",
    "Profile",
    "ProfilesCollection",
    "Setting",
    "Settings",
    "find_setting",
    "get_current_settings",
    "get_default_settings",
    "get_settings_from_env",
    "load_current_profile",
    "load_profile",
    "load_profiles",
    "profiles_path",
    "save_profiles",
    "temporary_settings",
    "update_current_profile",
    "use_profile",
]
__all__ += names.__all__
