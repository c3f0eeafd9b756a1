"""A sign-up site with Django, its forms and its admin. It is a project and its only app in one."""
